-- What became of a transfer that callapi.claim_transfer let be sent. executed, unknown: for p_hold_s from
-- now the same is its repeat. NULL: nothing was sent, and the call is as handed over as it was before.
-- Another one may have taken its place meanwhile, and be taken back itself: what is settled then is what
-- that one falls back to. Sending it twice is harmless.
CREATE OR REPLACE FUNCTION callapi.settle_transfer(
  p_call uuid, p_to text, p_at timestamptz, p_state text, p_hold_s float8)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
  v_until CONSTANT timestamptz := clock_timestamp() + make_interval(secs => p_hold_s);
  c record; v_before jsonb;
BEGIN
  SELECT k.transferred_to, k.transferred_at, k.transfer_before INTO c
    FROM callapi.calls k WHERE k.call_id = p_call FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  IF c.transferred_to = p_to AND c.transferred_at = p_at THEN
    IF p_state IS NULL THEN
      UPDATE callapi.calls k
         SET transferred_to = b.to, transferred_at = b.at, transfer_state = b.state,
             transfer_until = b.until, transfer_before = nullif(c.transfer_before - 0, '[]')
        FROM (SELECT) one LEFT JOIN jsonb_to_record(c.transfer_before -> 0) b
             ("to" text, at timestamptz, state text, until timestamptz) ON true
       WHERE k.call_id = p_call;
    ELSE  -- it will not be taken back
      UPDATE callapi.calls k
         SET transfer_state = p_state, transfer_until = v_until, transfer_before = NULL
       WHERE k.call_id = p_call;
    END IF;
    RETURN;
  END IF;
  SELECT jsonb_agg(CASE WHEN t.is_own THEN t.one || jsonb_build_object(
                          'state', p_state, 'until', v_until) ELSE t.one END ORDER BY t.at)
         FILTER (WHERE NOT t.is_own OR p_state IS NOT NULL) INTO v_before
    FROM (SELECT b.one, b.at,
                 b.one ->> 'to' = p_to AND (b.one ->> 'at')::timestamptz = p_at AS is_own
            FROM jsonb_array_elements(c.transfer_before) WITH ORDINALITY b (one, at)) t;
  UPDATE callapi.calls k SET transfer_before = v_before
   WHERE k.call_id = p_call AND k.transfer_before IS DISTINCT FROM v_before;
END $f$;

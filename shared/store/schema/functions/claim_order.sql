-- One request, one round trip: authenticate, apply the rules, find the call that this repeats, take
-- the tokens, claim. READ COMMITTED only: each statement below must see what others committed
-- meanwhile. Locks are always taken in the order key claim, same claim, then those of
-- callapi.take_allowance, which says what p_limits is; here it has "address" beside.
--
-- An order stops repeating a call that was placed at the sooner of its claim's end and p_after_end_s
-- after the call's; an Idempotency-Key leads to its call until its claim's end. The host of a repeat is
-- its call's, which may be another than its enterprise has by now.
--
-- verdict: new, repeat, unauthorized, ambiguous (the secret does not name exactly one enterprise
-- with a number), key-reused, limited, too-many-open, or one of callapi.refusal's.
CREATE OR REPLACE FUNCTION callapi.claim_order(
  p_secret text, p_call uuid,
  p_kind text, p_code text, p_phone text, p_action text, p_params text, p_key text,
  p_hold_s float8, p_key_hold_s float8, p_after_end_s float8,
  p_address text, p_limits jsonb,
  p_digits integer, p_allowed text[], p_denied text[], p_shared_hosts text)
RETURNS TABLE (
  verdict text, refused text, number text, name text, host text, call_id uuid, state text,
  phase text, reason text, created_at timestamptz, tightest text, remaining integer, retry_after_s float8)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
#variable_conflict use_column
DECLARE
  e record; c record; k text; v record; v_now timestamptz;
BEGIN
  SELECT x.* INTO e FROM callapi.enterprise_of(p_secret) x;
  IF NOT FOUND THEN
    -- Only wrong secrets cost a token: a right one is never locked out by its neighbours.
    verdict := 'unauthorized';
    SELECT t.* INTO v FROM callapi.take_token(
      'a:' || p_address, (p_limits #>> '{address,count}')::integer,
      (p_limits #>> '{address,per_s}')::float8) t;
    IF v.wait_s > 0 THEN
      verdict := 'limited'; tightest := 'address'; remaining := 0; retry_after_s := v.wait_s;
    END IF;
    RETURN NEXT; RETURN;
  END IF;
  IF e.matches > 1 OR e.number = '' THEN verdict := 'ambiguous'; RETURN NEXT; RETURN; END IF;
  number := e.number; name := e.name; host := e.host;

  SELECT r.* INTO v FROM callapi.refusal(
    e.number, e.host, p_code, CASE p_kind WHEN 'call' THEN p_phone END,
    CASE p_kind WHEN 'monitor' THEN p_phone END, p_kind = 'monitor',
    p_digits, p_allowed, p_denied, p_shared_hosts) r;
  verdict := v.verdict; refused := v.refused;
  IF verdict IS NOT NULL THEN RETURN NEXT; RETURN; END IF;
  call_id := p_call;

  BEGIN  -- a refusal raised below undoes the claims and tokens above it
    FOREACH k IN ARRAY array_remove(ARRAY['key:' || p_key, 'same:' || p_params], NULL) LOOP
      FOR attempt IN 1..20 LOOP
        INSERT INTO callapi.claims AS m (enterprise, key, call_id, params, until)
        VALUES (e.number, k, p_call, p_params, clock_timestamp() + make_interval(
                  secs => CASE WHEN k LIKE 'key:%' THEN p_key_hold_s ELSE p_hold_s END))
        ON CONFLICT (enterprise, key) DO UPDATE
          SET call_id = EXCLUDED.call_id, params = EXCLUDED.params, until = EXCLUDED.until
          WHERE m.until <= clock_timestamp();
        EXIT WHEN FOUND;

        -- A new statement, so it sees the winner's commit.
        SELECT m.call_id, m.params, s.state, s.phase, s.reason, s.created_at, s.host,
               k LIKE 'same:%' AND s.state = 'executed' AND s.ended_at
                 <= clock_timestamp() - make_interval(secs => p_after_end_s) AS lapsed INTO c
          FROM callapi.claims m LEFT JOIN callapi.calls s USING (call_id)
         WHERE m.enterprise = e.number AND m.key = k;
        IF FOUND THEN
          IF c.call_id = p_call THEN  -- our own admission, whose reply was lost
            verdict := 'new'; state := c.state; phase := c.phase; reason := c.reason;
            created_at := c.created_at; RETURN NEXT; RETURN;
          END IF;
          IF c.state IN ('placing', 'executed', 'unknown') AND c.lapsed IS NOT TRUE THEN
            IF c.params <> p_params THEN verdict := 'key-reused'; RAISE SQLSTATE 'CA001'; END IF;
            UPDATE callapi.claims m SET call_id = c.call_id
             WHERE m.enterprise = e.number AND m.call_id = p_call;
            verdict := 'repeat'; call_id := c.call_id; state := c.state; phase := c.phase;
            reason := c.reason; created_at := c.created_at; host := c.host; RETURN NEXT; RETURN;
          END IF;
          -- Its call was proven not executed, is over, or gone: the claim means nothing any more.
          DELETE FROM callapi.claims m
           WHERE m.enterprise = e.number AND m.key = k AND m.call_id = c.call_id;
        END IF;
        IF attempt = 20 THEN  -- asked again by the client, then given up
          RAISE SQLSTATE '40001' USING MESSAGE = 'a claim is released as often as it is taken';
        END IF;
      END LOOP;
    END LOOP;

    SELECT t.* INTO v FROM callapi.take_allowance(
      e.number, p_call, p_code, CASE p_kind WHEN 'call' THEN p_phone END, true,
      p_digits, p_limits) t;
    tightest := v.tightest; remaining := v.remaining;
    IF v.verdict IS NOT NULL THEN
      verdict := v.verdict; retry_after_s := nullif(v.wait_s, 0); RAISE SQLSTATE 'CA001';
    END IF;

    INSERT INTO callapi.calls AS s (call_id, enterprise, host, kind, code, phone, action, sandbox)
    VALUES (p_call, e.number, e.host, p_kind, p_code, p_phone, p_action, callapi.is_sandbox(e.host))
    RETURNING s.created_at INTO v_now;
    verdict := 'new'; state := 'placing'; phase := 'placing'; created_at := v_now; RETURN NEXT; RETURN;
  EXCEPTION WHEN SQLSTATE 'CA001' THEN
    call_id := NULL; RETURN NEXT; RETURN;
  END;
END $f$;

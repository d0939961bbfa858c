-- A transfer is admitted as a call is: the rules, the transfer just before that this repeats, the
-- tokens, the claim. The claim is the call's own row: of two equal transfers one is new, until the
-- first has been settled and its window is over; one that nobody settles holds for p_window_s. Asked
-- again with the same moment, it says again that this one is new. What it takes the place of is kept, for
-- callapi.settle_transfer. It opens no second call: of the caps of callapi.take_allowance, which says what
-- p_limits is, only that of the extension p_to holds.
--
-- A call that is being hung up is not handed over: whoever ends it would end what it is no more. As long
-- as the request to end it may be under way, that is.
--
-- verdict: new, repeat, no-such-call, being-ended, limited, too-many-open, or one of callapi.refusal's.
CREATE OR REPLACE FUNCTION callapi.claim_transfer(
  p_enterprise text, p_host text, p_call uuid, p_to text, p_at timestamptz, p_window_s float8,
  p_limits jsonb,
  p_digits integer, p_allowed text[], p_denied text[], p_shared_hosts text)
RETURNS TABLE (
  verdict text, refused text, tightest text, remaining integer, retry_after_s float8)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE c record; v record;
BEGIN
  SELECT r.* INTO v FROM callapi.refusal(
    p_enterprise, p_host, p_to, NULL, NULL, true,
    p_digits, p_allowed, p_denied, p_shared_hosts) r;
  verdict := v.verdict; refused := v.refused;
  IF verdict IS NOT NULL THEN RETURN NEXT; RETURN; END IF;

  SELECT k.transferred_to, k.transferred_at, k.transfer_state, k.transfer_until, k.transfer_before, k.hang_ups
    INTO c FROM callapi.calls k
   WHERE k.enterprise = p_enterprise AND k.call_id = p_call FOR UPDATE;
  IF NOT FOUND THEN verdict := 'no-such-call'; RETURN NEXT; RETURN; END IF;
  IF c.transferred_to = p_to AND c.transferred_at = p_at OR EXISTS (
      SELECT 1 FROM jsonb_array_elements(c.transfer_before) b
       WHERE b ->> 'to' = p_to AND (b ->> 'at')::timestamptz = p_at) THEN
    verdict := 'new'; RETURN NEXT; RETURN;  -- our own admission, whose reply was lost
  END IF;
  -- Another one that is being sent may be taken back: what it took the place of is repeated still.
  IF c.transferred_to = p_to AND c.transfer_until > clock_timestamp()
     OR c.transfer_state = 'sending' AND c.transfer_until > clock_timestamp() AND EXISTS (
      SELECT 1 FROM jsonb_array_elements(c.transfer_before) b
       WHERE b ->> 'to' = p_to AND (b ->> 'until')::timestamptz > clock_timestamp()) THEN
    verdict := 'repeat'; RETURN NEXT; RETURN;
  END IF;
  IF EXISTS (SELECT FROM unnest(c.hang_ups) h WHERE h > clock_timestamp() - interval '30 s') THEN
    verdict := 'being-ended'; RETURN NEXT; RETURN;
  END IF;

  BEGIN  -- a refusal raised below undoes the tokens above it
    SELECT t.* INTO v FROM callapi.take_allowance(
      p_enterprise, p_call, p_to, NULL, false, p_digits, p_limits) t;
    tightest := v.tightest; remaining := v.remaining;
    IF v.verdict IS NOT NULL THEN
      verdict := v.verdict; retry_after_s := nullif(v.wait_s, 0); RAISE SQLSTATE 'CA001';
    END IF;
    UPDATE callapi.calls k
       SET transferred_to = p_to, transferred_at = p_at, transfer_state = 'sending',
           transfer_until = clock_timestamp() + make_interval(secs => p_window_s),
           transfer_before = CASE WHEN c.transferred_to IS NOT NULL THEN
             jsonb_build_array(jsonb_build_object('to', c.transferred_to, 'at', c.transferred_at,
                                'state', c.transfer_state, 'until', c.transfer_until))
             -- One that was sent is not taken back, so what it took the place of means nothing.
             || CASE c.transfer_state WHEN 'sending' THEN coalesce(c.transfer_before, '[]')
                                      ELSE '[]' END END
     WHERE k.call_id = p_call;
    verdict := 'new'; RETURN NEXT; RETURN;
  EXCEPTION WHEN SQLSTATE 'CA001' THEN
    RETURN NEXT; RETURN;
  END;
END $f$;

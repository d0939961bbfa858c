-- A transfer is admitted as a call is: the rules, the transfer just before that this repeats, the
-- tokens, the claim. The claim is the call's own row: of two equal transfers one is new, until the
-- first has been settled and its window is over; one that nobody settles holds for p_window_s. Asked
-- again with the same moment, it says again that this one is new.
--
-- verdict: new, repeat, no-such-call, limited, or one of callapi.refusal's.
CREATE OR REPLACE FUNCTION callapi.admit_transfer(
  p_enterprise text, p_host text, p_call uuid, p_to text, p_at timestamptz, p_window_s float8,
  p_extension_count integer, p_extension_per_s float8,
  p_enterprise_count integer, p_enterprise_per_s float8,
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

  SELECT k.transferred_to, k.transferred_at, k.transfer_until INTO c FROM callapi.calls k
   WHERE k.enterprise = p_enterprise AND k.call_id = p_call FOR UPDATE;
  IF NOT FOUND THEN verdict := 'no-such-call'; RETURN NEXT; RETURN; END IF;
  IF c.transferred_to = p_to AND c.transferred_at = p_at THEN
    verdict := 'new'; RETURN NEXT; RETURN;  -- our own admission, whose reply was lost
  END IF;
  IF c.transferred_to = p_to AND c.transfer_until > clock_timestamp() THEN
    verdict := 'repeat'; RETURN NEXT; RETURN;
  END IF;

  BEGIN  -- a refusal raised below undoes the tokens above it
    SELECT t.* INTO v FROM callapi.take_tokens(
      p_enterprise, p_to, p_extension_count, p_extension_per_s,
      p_enterprise_count, p_enterprise_per_s) t;
    tightest := v.tightest; remaining := v.remaining;
    IF v.wait_s > 0 THEN
      verdict := 'limited'; retry_after_s := v.wait_s; RAISE SQLSTATE 'CA001';
    END IF;
    UPDATE callapi.calls k
       SET transferred_to = p_to, transferred_at = p_at, transfer_state = 'sending',
           transfer_until = clock_timestamp() + make_interval(secs => p_window_s)
     WHERE k.call_id = p_call;
    verdict := 'new'; RETURN NEXT; RETURN;
  EXCEPTION WHEN SQLSTATE 'CA001' THEN
    RETURN NEXT; RETURN;
  END;
END $f$;

-- Note who does what, in the transaction that lets it be done. Noting the same of a call, at the same
-- moment, is one note: that is how a lost reply is asked again.
-- Its owner's rights are this function's: the service itself can neither change a note nor remove one.
--
-- p_who: {"done_by", "secret" (the secret itself, of which only callapi.named_secret is kept), "actor",
-- "address", "request_id"}; what is missing is not known.
CREATE OR REPLACE FUNCTION callapi.note(
  p_enterprise text, p_action text, p_call uuid, p_code text, p_whom text, p_at timestamptz, p_who jsonb)
RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $f$
  INSERT INTO callapi.audit
    (at, enterprise, action, done_by, secret, actor, address, request_id, call_id, code, whom)
  VALUES (
    coalesce(p_at, clock_timestamp()), p_enterprise, p_action, p_who->>'done_by',
    CASE WHEN p_who->>'secret' IS NOT NULL THEN callapi.named_secret(p_who->>'secret') END,
    p_who->>'actor', p_who->>'address', p_who->>'request_id', p_call, p_code, p_whom)
  ON CONFLICT (call_id, action, at) WHERE call_id IS NOT NULL DO NOTHING
$f$;

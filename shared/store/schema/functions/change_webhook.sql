-- Change a webhook of an enterprise's own, and note who did that: whether there is one; what an earlier
-- enterprise of that number has left is an operator's. Sending it twice is harmless, and may be noted twice.
--
-- p_change, of which what is missing stays: {"url", "wanted", "enabled": by whom, p_who, it is; true begins
-- where it has ceased, "secret": in hexadecimal, the one before signs too for "previous_s", "since": what
-- was told from then on is sent again, "test": its id, "remove"}.
CREATE OR REPLACE FUNCTION callapi.change_webhook(
  p_enterprise text, p_id uuid, p_change jsonb, p_what text, p_who jsonb)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
  w callapi.webhooks; v_secret bytea := decode(p_change->>'secret', 'hex');
  v_enabled boolean := (p_change->>'enabled')::boolean;
BEGIN
  SELECT x.* INTO w FROM callapi.webhooks x
   WHERE x.id = p_id AND x.enterprise = p_enterprise
     AND (p_who->>'done_by' <> 'client' OR x.disabled_why IS DISTINCT FROM 'enterprise-gone')
     FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM callapi.note(p_enterprise, 'webhooks', NULL, NULL, p_what, NULL, p_who);
  IF (p_change->>'remove')::boolean THEN
    DELETE FROM callapi.webhooks x WHERE x.id = p_id;
    RETURN true;
  END IF;
  UPDATE callapi.webhooks x
     SET url = coalesce(p_change->>'url', x.url),
         wanted = coalesce(nullif(p_change->'wanted', 'null'), x.wanted),
         test = coalesce((p_change->>'test')::uuid, x.test)
   WHERE x.id = p_id;
  IF v_secret <> w.secret THEN
    UPDATE callapi.webhooks x
       SET secret = v_secret, previous = x.secret, previous_until =
             clock_timestamp() + make_interval(secs => (p_change->>'previous_s')::float8)
     WHERE x.id = p_id;
  END IF;
  IF v_enabled OR p_change->>'url' <> w.url THEN
    -- Another address is tried at once.
    UPDATE callapi.webhooks x
       SET failures = 0, failed_at = NULL, failing_since = NULL, slow = false,
           due_at = clock_timestamp()
     WHERE x.id = p_id;
  END IF;
  IF v_enabled THEN
    UPDATE callapi.webhooks x SET disabled_at = NULL, disabled_why = NULL WHERE x.id = p_id;
  ELSIF NOT v_enabled AND w.disabled_at IS NULL THEN
    UPDATE callapi.webhooks x
       SET disabled_at = clock_timestamp(), disabled_why = p_who->>'done_by'
     WHERE x.id = p_id;
  END IF;
  IF p_change ? 'since' THEN
    UPDATE callapi.webhooks x
       SET due_at = clock_timestamp(),
           after_seq = least(x.after_seq, (
             SELECT min(e.seq) - 1 FROM callapi.call_events e
              WHERE e.enterprise = p_enterprise AND e.at >= (p_change->>'since')::timestamptz))
     WHERE x.id = p_id;
  END IF;
  RETURN true;
END $f$;

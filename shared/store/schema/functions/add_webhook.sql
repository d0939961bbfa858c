-- Have an enterprise's events sent to an address, and note who did that. The same id again, as after a
-- lost reply, is the same webhook. Without p_after it begins now.
-- Returns `added`, `no-sender`: no process sends, or `too-many`: it has p_most.
CREATE OR REPLACE FUNCTION callapi.add_webhook(
  p_id uuid, p_enterprise text, p_url text, p_wanted jsonb, p_secret bytea, p_after bigint,
  p_most integer, p_what text, p_who jsonb)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('callapi.webhooks ' || p_enterprise, 0));
  IF EXISTS (SELECT 1 FROM callapi.webhooks w WHERE w.id = p_id) THEN RETURN 'added'; END IF;
  IF NOT EXISTS (SELECT 1 FROM callapi.webhook_sender s WHERE s.until > clock_timestamp()) THEN
    RETURN 'no-sender';
  END IF;
  -- What an earlier enterprise of that number has left is not its own.
  IF (SELECT count(*) FROM callapi.webhooks w
       WHERE w.enterprise = p_enterprise
         AND w.disabled_why IS DISTINCT FROM 'enterprise-gone') >= p_most THEN
    RETURN 'too-many';
  END IF;
  INSERT INTO callapi.webhooks (id, enterprise, url, wanted, secret, after_seq)
  VALUES (p_id, p_enterprise, p_url, p_wanted, p_secret, coalesce(p_after, (
    SELECT c.seq FROM callapi.event_counters c WHERE c.enterprise = p_enterprise), 0));
  PERFORM callapi.note(p_enterprise, 'webhooks', NULL, NULL, p_what, NULL, p_who);
  RETURN 'added';
END $f$;

-- Tell an enterprise that a webhook of its own was switched off: as callapi.tell does. Of the address only
-- where it leads, since the rest may be a secret of the receiver's.
CREATE OR REPLACE FUNCTION callapi.tell_webhook(w callapi.webhooks)
RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH n AS (
    INSERT INTO callapi.event_counters AS c VALUES (w.enterprise, 1)
    ON CONFLICT (enterprise) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq)
  INSERT INTO callapi.call_events (enterprise, seq, at, type, webhook)
  SELECT w.enterprise, n.seq, clock_timestamp(), 'webhook.disabled', jsonb_build_object(
           'id', w.id, 'origin', lower(substring(w.url FROM '^[A-Za-z]+://[^/?#]+')),
           'why', w.disabled_why)
    FROM n
$f$;

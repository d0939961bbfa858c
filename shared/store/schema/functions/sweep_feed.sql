-- Remove what was told more than so many days ago, some thousand events at a time, and the notes of what
-- was sent then; how many they were.
-- An enterprise's oldest go first, up to the last that is due: what is left has no gap.
CREATE OR REPLACE FUNCTION callapi.sweep_feed(p_keep_days float8) RETURNS bigint LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH due AS (
         SELECT e.enterprise, max(e.seq) AS last
           FROM (SELECT enterprise, seq FROM callapi.call_events
                  WHERE at < clock_timestamp() - make_interval(secs => p_keep_days * 86400)
                  ORDER BY at LIMIT 2000) e
          GROUP BY e.enterprise),
       gone AS (
         DELETE FROM callapi.call_events e USING due d
          WHERE e.enterprise = d.enterprise AND e.seq <= d.last RETURNING 1),
       sent AS (
         DELETE FROM callapi.webhook_deliveries WHERE ctid = ANY (ARRAY(
           SELECT x.ctid FROM callapi.webhook_deliveries x
            WHERE x.at < clock_timestamp() - make_interval(secs => p_keep_days * 86400)
            ORDER BY x.at LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM sent)
$f$;

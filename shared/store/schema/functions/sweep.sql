-- Housekeeping: what has expired for a day means nothing any more. For calls, events and the audit there
-- are sweep_calls, sweep_feed and sweep_audit.
-- Some thousand rows at a time, so that nobody waits long for a row that is being removed; whoever
-- wants none left calls it until it answers 0. A row that somebody holds is left for another time.
CREATE OR REPLACE FUNCTION callapi.sweep() RETURNS bigint LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH c AS (DELETE FROM callapi.claims WHERE (enterprise, key) IN (
              SELECT enterprise, key FROM callapi.claims
               WHERE until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1),
       r AS (DELETE FROM callapi.rate_limits WHERE key IN (
              SELECT key FROM callapi.rate_limits
               WHERE tat < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1),
       v AS (DELETE FROM callapi.host_views WHERE host IN (
              SELECT host FROM callapi.host_views
               WHERE wanted_until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1),
       -- Of these a tracker tells the end, and removes them itself, where one runs.
       w AS (DELETE FROM callapi.watches WHERE (enterprise, host) IN (
              SELECT enterprise, host FROM callapi.watches
               WHERE until < clock_timestamp() - interval '1 hour'
               LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1),
       -- While somebody listens, a call may last; else nobody knows whether it does.
       p AS (DELETE FROM callapi.pbx_calls WHERE (host, root_uniqueid) IN (
              SELECT k.host, k.root_uniqueid FROM callapi.pbx_calls k
               WHERE k.changed_at < clock_timestamp() - interval '1 hour'
                 AND NOT EXISTS (SELECT 1 FROM callapi.watches x WHERE x.host = k.host)
               LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1),
       t AS (DELETE FROM callapi.tickets WHERE digest IN (
              SELECT digest FROM callapi.tickets
               WHERE until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1)
  SELECT (SELECT count(*) FROM c) + (SELECT count(*) FROM r) + (SELECT count(*) FROM v)
         + (SELECT count(*) FROM w) + (SELECT count(*) FROM p) + (SELECT count(*) FROM t)
$f$;

-- Housekeeping: what has expired for a day means nothing any more. For calls, events and the audit there
-- are sweep_calls, sweep_feed and sweep_audit.
-- Some thousand rows at a time, so that nobody waits long for a row that is being removed; whoever
-- wants none left calls it until it answers 0. A row that somebody holds is left for another time.
-- Rows are named by their place, in an array that is made once: a join of the two could be planned so
-- that each row of the table locks all of the others again, where the table's size is not known yet.
CREATE OR REPLACE FUNCTION callapi.sweep() RETURNS bigint LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH c AS (DELETE FROM callapi.claims WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.claims x
               WHERE x.until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       r AS (DELETE FROM callapi.rate_limits WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.rate_limits x
               WHERE x.tat < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       v AS (DELETE FROM callapi.host_views WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.host_views x
               WHERE x.wanted_until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       -- Of these a tracker tells the end, and removes them itself, where one runs.
       w AS (DELETE FROM callapi.watches WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.watches x
               WHERE x.until < clock_timestamp() - interval '1 hour'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       -- While somebody listens, a call may last; else nobody knows whether it does.
       p AS (DELETE FROM callapi.pbx_calls WHERE ctid = ANY (ARRAY(
              SELECT k.ctid FROM callapi.pbx_calls k
               WHERE k.changed_at < clock_timestamp() - interval '1 hour'
                 AND NOT EXISTS (SELECT 1 FROM callapi.watches x WHERE x.host = k.host)
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       t AS (DELETE FROM callapi.tickets WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.tickets x
               WHERE x.until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       x AS (DELETE FROM callapi.waits WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.waits x
               WHERE x.until < clock_timestamp() - interval '1 hour'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       b AS (DELETE FROM callapi.broken_hosts WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.broken_hosts x
               WHERE x.until < clock_timestamp() - interval '1 hour'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       -- A PBX that nobody asks is told of for as long; its processes are long gone.
       s AS (DELETE FROM callapi.host_states WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.host_states x
               WHERE x.told_at < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       h AS (DELETE FROM callapi.host_reach WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.host_reach x
               WHERE x.seen_at < clock_timestamp() - interval '90 days'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       n AS (DELETE FROM callapi.notices WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.notices x
               WHERE x.last_at < clock_timestamp() - interval '90 days'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1),
       -- Whoever pushes has ended them, where anybody does.
       k AS (DELETE FROM callapi.push_connections WHERE ctid = ANY (ARRAY(
              SELECT x.ctid FROM callapi.push_connections x
               WHERE x.until < clock_timestamp() - interval '1 day'
               LIMIT 2000 FOR UPDATE SKIP LOCKED)) RETURNING 1)
  SELECT (SELECT count(*) FROM c) + (SELECT count(*) FROM r) + (SELECT count(*) FROM v)
         + (SELECT count(*) FROM w) + (SELECT count(*) FROM p) + (SELECT count(*) FROM t)
         + (SELECT count(*) FROM s) + (SELECT count(*) FROM h) + (SELECT count(*) FROM n)
         + (SELECT count(*) FROM x) + (SELECT count(*) FROM b) + (SELECT count(*) FROM k)
$f$;

-- Remove what was noted more than so many days ago, some thousand notes at a time; how many they were.
-- They are noted in the order of their ids, but for the moments of a request. With its owner's rights, and
-- never the last 30 days': the service itself can remove no note.
CREATE OR REPLACE FUNCTION callapi.sweep_audit(p_keep_days float8) RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $f$
  WITH oldest AS (SELECT a.id, a.at FROM callapi.audit a ORDER BY a.id LIMIT 2000),
       gone AS (
         DELETE FROM callapi.audit a USING oldest o
          WHERE a.id = o.id
            AND o.at < clock_timestamp() - make_interval(secs => greatest(p_keep_days, 30) * 86400)
         RETURNING 1)
  SELECT count(*) FROM gone
$f$;

-- Remove what was noted more than so many days ago, some thousand notes at a time; how many they were.
-- With its owner's rights, and never the last 30 days': the service itself can remove no note.
CREATE OR REPLACE FUNCTION callapi.sweep_audit(p_keep_days float8) RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $f$
  WITH due AS (
         SELECT a.ctid AS place FROM callapi.audit a
          WHERE a.at < clock_timestamp() - make_interval(secs => greatest(p_keep_days, 30) * 86400)
          ORDER BY a.at LIMIT 2000 FOR UPDATE SKIP LOCKED),
       gone AS (DELETE FROM callapi.audit a
                 WHERE a.ctid = ANY (ARRAY(SELECT d.place FROM due d)) RETURNING 1)
  SELECT count(*) FROM gone
$f$;

-- Remove the calls that were placed more than so many days ago, some thousand at a time; how many they
-- were; one that a claim still leads to stays, or its repeat would ring. The oldest of each enterprise are found by its own pages' index, so that no table of many years
-- is read through. What became of each is told to the audit, which may be kept longer. With its owner's
-- rights, and never the last day's: the service itself can remove no call.
CREATE OR REPLACE FUNCTION callapi.sweep_calls(p_keep_days float8) RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $f$
  WITH RECURSIVE
       known AS (
         SELECT min(c.enterprise) AS enterprise FROM callapi.calls c
         UNION ALL
         SELECT (SELECT min(c.enterprise) FROM callapi.calls c WHERE c.enterprise > k.enterprise)
           FROM known k WHERE k.enterprise IS NOT NULL),
       due AS (
         SELECT d.place FROM known k CROSS JOIN LATERAL (
                  SELECT c.ctid AS place FROM callapi.calls c
                   WHERE c.enterprise = k.enterprise
                     AND c.created_at < clock_timestamp() - make_interval(secs => greatest(p_keep_days, 1) * 86400)
                     AND NOT EXISTS (SELECT 1 FROM callapi.claims m
                                      WHERE m.call_id = c.call_id AND m.until > clock_timestamp())
                   ORDER BY c.created_at LIMIT 2000 FOR UPDATE SKIP LOCKED) d
          LIMIT 2000),
       gone AS (
         DELETE FROM callapi.calls c WHERE c.ctid = ANY (ARRAY(SELECT d.place FROM due d))
         RETURNING c.call_id, coalesce(c.reason, c.state) AS became),
       told AS (
         UPDATE callapi.audit a SET outcome = g.became FROM gone g
          WHERE a.call_id = g.call_id AND a.action IN ('call', 'monitor'))
  SELECT count(*) FROM gone
$f$;

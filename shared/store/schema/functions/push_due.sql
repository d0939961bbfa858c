-- Of at most p_most enterprises, in any order, what is to be put where their connections are told it: what comes after
-- `after`, and which connections are to end, since they were silent for too long, or their right has ended.
-- Without p_all only those that were told something new are looked at; with it all, and of those who want
-- all calls of their PBX it is watched for p_watch_s.
CREATE OR REPLACE FUNCTION callapi.push_due(p_most integer, p_all boolean, p_watch_s float8)
RETURNS TABLE (enterprise text, after bigint, newest bigint, ended text[]) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  IF p_all THEN
    INSERT INTO callapi.watches AS x (enterprise, host, until)
    SELECT d.enterprise, d.host, clock_timestamp() + make_interval(secs => p_watch_s)
      FROM (SELECT DISTINCT g.enterprise, callapi.host_of(g.enterprise, g.secret_digest) AS host
              FROM (SELECT DISTINCT c.enterprise, c.secret_digest FROM callapi.push_connections c
                     WHERE c.until > clock_timestamp() AND c.wanted->>'scope' = 'all') g) d
     WHERE d.host <> ''
     ORDER BY 1, 2
    ON CONFLICT ON CONSTRAINT watches_pkey
       DO UPDATE SET until = greatest(x.until, EXCLUDED.until);
  END IF;
  RETURN QUERY
    WITH due AS (
      SELECT p.enterprise, p.seq, coalesce(n.seq, 0) AS newest
        FROM callapi.push_places p LEFT JOIN callapi.event_counters n ON n.enterprise = p.enterprise
       WHERE (p_all OR n.seq <> p.seq)
         AND EXISTS (SELECT 1 FROM callapi.push_connections c WHERE c.enterprise = p.enterprise)),
    rights AS (
      SELECT g.enterprise, g.secret_digest,
             callapi.host_of(g.enterprise, g.secret_digest) IS NOT NULL AS is_right
        FROM (SELECT DISTINCT c.enterprise, c.secret_digest
                FROM callapi.push_connections c JOIN due d ON d.enterprise = c.enterprise) g),
    -- So many at once as fit into what is put; the others end with the next look.
    ends AS (
      SELECT c.enterprise, (array_agg(c.id ORDER BY c.id))[1:5000] AS ids
        FROM callapi.push_connections c
        JOIN rights r ON r.enterprise = c.enterprise AND r.secret_digest = c.secret_digest
       WHERE NOT r.is_right OR c.until <= clock_timestamp()
       GROUP BY c.enterprise)
    SELECT d.enterprise, d.seq, d.newest, coalesce(e.ids, '{}')
      FROM due d LEFT JOIN ends e ON e.enterprise = d.enterprise
     WHERE d.newest <> d.seq OR e.ids IS NOT NULL
     -- Those of which nothing can be put keep nobody else from it, however many they are.
     ORDER BY random() LIMIT p_most;
END $f$;

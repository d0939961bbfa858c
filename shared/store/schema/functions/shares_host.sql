-- Whether another active enterprise has the same PBX, however its `ip` is spelled. NULL: that cannot be
-- told yet, since this host was never connected to, or the text of another was never looked up.
CREATE OR REPLACE FUNCTION callapi.shares_host(p_enterprise text, p_host text)
RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  WITH others AS MATERIALIZED (
    SELECT DISTINCT x.host FROM callapi.enterprises() x
     WHERE x.active AND x.number <> p_enterprise)
  SELECT CASE
    WHEN p_host IN (SELECT o.host FROM others o) THEN true
    WHEN NOT EXISTS (SELECT 1 FROM others o WHERE o.host <> '') THEN false
    WHEN EXISTS (SELECT 1 FROM others o
                  WHERE o.host = ANY ((SELECT callapi.spellings(p_host))::text[])) THEN true
    WHEN NOT EXISTS (SELECT 1 FROM callapi.hosts h
                      WHERE h.host = p_host AND h.met_at IS NOT NULL AND h.due_at IS NOT NULL)
      THEN NULL
    WHEN EXISTS (SELECT 1 FROM others o WHERE o.host <> '' AND NOT EXISTS (
                   SELECT 1 FROM callapi.hosts h WHERE h.host = o.host AND h.due_at IS NOT NULL))
      THEN NULL
    ELSE false END
$f$;

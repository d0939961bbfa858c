-- Which of the numbers that are to be dialled an enterprise denies in another spelling: p_spelled
-- has those of p_dialled, place by place. NULL: none.
CREATE OR REPLACE FUNCTION callapi.denied_otherwise(
  p_enterprise text, p_dialled text[], p_spelled text[])
RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $f$
  SELECT array_agg(DISTINCT s.dialled)
    FROM callapi.enterprise_rules r, unnest(r.denied) AS d(prefix),
         unnest(p_dialled, p_spelled) AS s(dialled, spelled)
   WHERE r.enterprise = p_enterprise AND starts_with(s.spelled, d.prefix)
$f$;

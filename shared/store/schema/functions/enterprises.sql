-- The rows of `enterprises`, of these hosts or (NULL) all of them, as every request reads them:
-- trimmed, and any type as its text; `number_there` is the number as it stands. format() prints as the
-- type itself does: an inet without its netmask, NULL as ''.
CREATE OR REPLACE FUNCTION callapi.enterprises(p_hosts text[] DEFAULT NULL)
RETURNS TABLE (
  number text, name text, host text, active boolean, secret text, number_there text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  RETURN QUERY
  SELECT btrim(format('%s', x.number)), format('%s', x.name), btrim(format('%s', x.ip)),
         x.active IS TRUE, x.secret::text, x.number::text
    FROM @enterprises@ x
   WHERE p_hosts IS NULL OR btrim(format('%s', x.ip)) = ANY (p_hosts);
END $f$;

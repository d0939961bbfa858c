-- Prefixes are compared letter by letter, + included: what the PBX makes of a number is not known.
CREATE OR REPLACE FUNCTION callapi.may_dial(p_phone text, p_allowed text[], p_denied text[])
RETURNS boolean LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  RETURN (coalesce(cardinality(p_allowed), 0) = 0
          OR EXISTS (SELECT 1 FROM unnest(p_allowed) p WHERE starts_with(p_phone, p)))
     AND NOT EXISTS (SELECT 1 FROM unnest(p_denied) p WHERE starts_with(p_phone, p));
END $f$;

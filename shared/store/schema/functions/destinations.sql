-- Which of the numbers that ring are destinations: a phone always; one that rings as an extension
-- where it is longer than p_digits and not among p_extensions, those that an operator has named: a
-- dialplan may well lead it outside. NULL rings nobody.
CREATE OR REPLACE FUNCTION callapi.destinations(
  p_rings text, p_calls text, p_extensions text[], p_digits integer)
RETURNS text[] LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $f$
  SELECT array_remove(ARRAY[p_calls, CASE
    WHEN length(p_rings) > p_digits AND NOT coalesce(p_rings = ANY (p_extensions), false)
    THEN p_rings END], NULL)
$f$;

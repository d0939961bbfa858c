-- Where the user's table `enterprises` is: its qualified name, which ./asterisk.sh migrate finds and
-- writes here and into the functions that read it, in the place of @enterprises@. So nobody who may
-- create tables elsewhere can put another one before it.
CREATE OR REPLACE FUNCTION callapi.enterprises_at() RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT $name$@enterprises@$name$
$f$;

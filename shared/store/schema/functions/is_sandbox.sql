-- Whether a host is a stand-in that an operator runs: nobody is rung there. A process of this service
-- connects to it on the port that stands there, and to no other.
CREATE OR REPLACE FUNCTION callapi.is_sandbox(p_host text) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT EXISTS (SELECT 1 FROM callapi.sandboxes s WHERE s.host = p_host)
$f$;

-- What was due was put, up to p_seq; the connections of p_ended will be told nothing more. p_back: the number
-- may be lower than the one before, as after a restored backup.
CREATE OR REPLACE FUNCTION callapi.push_done(
  p_enterprise text, p_seq bigint, p_ended text[], p_back boolean)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE callapi.push_places p SET seq = CASE WHEN p_back THEN p_seq ELSE greatest(p.seq, p_seq) END
   WHERE p.enterprise = p_enterprise;
  DELETE FROM callapi.push_connections c
   WHERE c.enterprise = p_enterprise AND c.id = ANY (p_ended);
END $f$;

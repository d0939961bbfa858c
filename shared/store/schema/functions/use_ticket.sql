-- Use a ticket up: {"enterprise", "host", "secret_digest" in hex, "wanted"}; NULL: it was used, came too
-- late, never was, or the secret that it was given for is no more. Whoever is first has it.
CREATE OR REPLACE FUNCTION callapi.use_ticket(p_digest bytea) RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE t callapi.tickets; v_host text;
BEGIN
  DELETE FROM callapi.tickets x WHERE x.digest = p_digest RETURNING x.* INTO t;
  IF NOT FOUND OR t.until <= clock_timestamp() THEN RETURN NULL; END IF;
  v_host := callapi.host_of(t.enterprise, t.secret_digest);
  IF v_host IS NULL THEN RETURN NULL; END IF;
  RETURN jsonb_build_object('enterprise', t.enterprise, 'host', v_host,
    'secret_digest', encode(t.secret_digest, 'hex'), 'wanted', t.wanted);
END $f$;

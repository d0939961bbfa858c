-- Keep a ticket for p_lasts_s seconds: until when; NULL: the enterprise has p_most that nobody used.
-- Those that came too late go first. The same ticket again, as after a lost reply, is the same.
CREATE OR REPLACE FUNCTION callapi.issue_ticket(
  p_digest bytea, p_enterprise text, p_secret_digest bytea, p_wanted jsonb, p_lasts_s float8,
  p_most integer)
RETURNS timestamptz LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_until timestamptz;
BEGIN
  -- A ticket that a crash forgets is asked for again: nobody waits for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(hashtextextended('callapi.tickets ' || p_enterprise, 0));
  DELETE FROM callapi.tickets WHERE enterprise = p_enterprise AND until <= clock_timestamp();
  SELECT t.until INTO v_until FROM callapi.tickets t WHERE t.digest = p_digest;
  IF FOUND THEN RETURN v_until; END IF;
  IF (SELECT count(*) FROM callapi.tickets WHERE enterprise = p_enterprise) >= p_most THEN
    RETURN NULL;
  END IF;
  v_until := clock_timestamp() + make_interval(secs => p_lasts_s);
  INSERT INTO callapi.tickets VALUES (p_digest, p_enterprise, p_secret_digest, p_wanted, v_until);
  RETURN v_until;
END $f$;

-- Take one of an enterprise's p_most places to wait, or keep it; false: none is free.
CREATE OR REPLACE FUNCTION callapi.take_wait(
  p_enterprise text, p_holder uuid, p_most integer, p_lease_s float8)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  -- Two at once would both find the last one free. No other lock is held by whoever waits here.
  PERFORM pg_advisory_xact_lock(1634956646, hashtext(p_enterprise));
  DELETE FROM callapi.waits w
   WHERE w.enterprise = p_enterprise AND w.until <= clock_timestamp();
  IF (SELECT count(*) FROM callapi.waits w
       WHERE w.enterprise = p_enterprise AND w.holder <> p_holder) >= p_most THEN
    RETURN false;
  END IF;
  INSERT INTO callapi.waits AS w
  VALUES (p_enterprise, p_holder, clock_timestamp() + make_interval(secs => p_lease_s))
  ON CONFLICT (enterprise, holder) DO UPDATE SET until = EXCLUDED.until;
  RETURN true;
END $f$;

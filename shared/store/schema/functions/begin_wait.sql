-- Take one of an enterprise's p_most places to wait, of which all enterprises have p_together, or keep it;
-- false: none is free.
CREATE OR REPLACE FUNCTION callapi.begin_wait(
  p_enterprise text, p_holder uuid, p_most integer, p_together integer, p_lease_s float8)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
  -- Two at once would both find the last one free. No other lock is held by whoever waits here.
  PERFORM pg_advisory_xact_lock(1634956646, 1);
  DELETE FROM callapi.waits w WHERE w.until <= clock_timestamp();
  IF EXISTS (
      SELECT FROM callapi.waits w WHERE w.holder <> p_holder
      HAVING count(*) >= p_together
          OR count(*) FILTER (WHERE w.enterprise = p_enterprise) >= p_most) THEN
    RETURN false;
  END IF;
  INSERT INTO callapi.waits AS w
  VALUES (p_enterprise, p_holder, clock_timestamp() + make_interval(secs => p_lease_s))
  ON CONFLICT (enterprise, holder) DO UPDATE SET until = EXCLUDED.until;
  RETURN true;
END $f$;

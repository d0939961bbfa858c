-- Take the tokens that one more ring costs, of its extension and of its enterprise, in this order. A
-- limit whose count is NULL is off; `tightest` names the one that refuses, or has least left. Whoever
-- is refused (`wait_s` over 0) undoes what was taken.
CREATE OR REPLACE FUNCTION callapi.take_tokens(
  p_enterprise text, p_code text,
  p_extension_count integer, p_extension_per_s float8,
  p_enterprise_count integer, p_enterprise_per_s float8,
  OUT tightest text, OUT remaining integer, OUT wait_s float8)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE lim record; v record;
BEGIN
  FOR lim IN SELECT * FROM (VALUES
      ('extension', 'x:' || p_enterprise || ':' || p_code, p_extension_count, p_extension_per_s),
      ('enterprise', 'e:' || p_enterprise, p_enterprise_count, p_enterprise_per_s)
    ) l (kind, key, count, per_s)
  LOOP
    SELECT t.* INTO v FROM callapi.take_token(lim.key, lim.count, lim.per_s) t;
    wait_s := v.wait_s;
    IF wait_s > 0 THEN tightest := lim.kind; remaining := 0; RETURN; END IF;
    IF remaining IS NULL OR v.remaining < remaining THEN
      tightest := lim.kind; remaining := v.remaining;
    END IF;
  END LOOP;
END $f$;

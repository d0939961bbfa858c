-- All the `ip` texts that are treated as one host with this one, itself included: a common address,
-- the same pinned key, the same Asterisk, or both of them one with a third. A text of which nothing is
-- known is alone. PBXs cloned from one image show one key, and are told apart nowhere: this only ever
-- refuses, and never leads a command from one host to another.
CREATE OR REPLACE FUNCTION callapi.spellings(p_host text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $f$
DECLARE found text[] := ARRAY[p_host]; more text[]; v_facts text[]; v_keys text[];
BEGIN
  LOOP
    SELECT array_agg(DISTINCT f) INTO v_facts
      FROM callapi.hosts h, unnest(h.facts) f WHERE h.host = ANY (found);
    SELECT array_agg(DISTINCT k.key) INTO v_keys FROM callapi.host_keys k
     WHERE k.host = ANY (found)
        OR k.host IN (SELECT h.target FROM callapi.hosts h WHERE h.host = ANY (found));
    SELECT array_agg(x.host) INTO more FROM (
      SELECT unnest(found) AS host
      UNION SELECT h.host FROM callapi.hosts h WHERE h.facts && v_facts
      UNION SELECT k.host FROM callapi.host_keys k WHERE k.key = ANY (v_keys)
      UNION SELECT h.host FROM callapi.host_keys k JOIN callapi.hosts h ON h.target = k.host
             WHERE k.key = ANY (v_keys)) x;
    EXIT WHEN cardinality(more) = cardinality(found);
    found := more;
  END LOOP;
  RETURN found;
END $f$;

-- Why an enterprise may not do what it asks for: NULL, and it may. One place for everything that
-- rings: a call, a monitoring, a transfer.
--
-- p_rings is the extension that rings, p_calls the phone that is called then, p_taps the extension
-- that is listened to; whichever there is none of is NULL. Which of them obey the rules for
-- destinations, is callapi.destinations's to say. What is tapped is never dialled.
-- p_whole_host: where nobody said whose the extensions are, it might reach a neighbour's call.
--
-- verdict: dialling-stopped, destination-denied, extension-not-owned, shared-host; `refused` is the
-- number that it is about. Of shared-host it is the host, where nobody can tell yet whether it is.
CREATE OR REPLACE FUNCTION callapi.refusal(
  p_enterprise text, p_host text, p_rings text, p_calls text, p_taps text, p_whole_host boolean,
  p_digits integer, p_allowed text[], p_denied text[], p_shared_hosts text,
  OUT verdict text, OUT refused text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE rule callapi.enterprise_rules; n text; v_shares boolean;
BEGIN
  SELECT r.* INTO rule FROM callapi.enterprise_rules r WHERE r.enterprise = p_enterprise;
  IF NOT rule.dialling THEN verdict := 'dialling-stopped'; RETURN; END IF;
  FOREACH n IN ARRAY callapi.destinations(p_rings, p_calls, rule.extensions, p_digits) LOOP
    IF NOT (callapi.may_dial(n, p_allowed, p_denied)
            AND callapi.may_dial(n, rule.allowed, rule.denied)) THEN
      verdict := 'destination-denied'; refused := n; RETURN;
    END IF;
  END LOOP;
  -- A list that somebody wrote a NULL into, which is nobody's extension, names the others all the same.
  FOREACH n IN ARRAY array_remove(ARRAY[p_rings, p_taps], NULL) LOOP
    IF rule.extensions IS NOT NULL AND (n = ANY (rule.extensions)) IS NOT TRUE THEN
      verdict := 'extension-not-owned'; refused := n; RETURN;
    END IF;
  END LOOP;
  IF p_whole_host AND rule.extensions IS NULL AND p_shared_hosts = 'refuse' THEN
    v_shares := callapi.shares_host(p_enterprise, p_host);
    IF v_shares IS NOT FALSE THEN verdict := 'shared-host'; END IF;
    IF v_shares IS NULL THEN refused := p_host; END IF;
  END IF;
END $f$;

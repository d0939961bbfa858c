-- What is known of each `ip` text of `enterprises`, trimmed as requests read it, so that one PBX is one
-- host however its address is spelled: callapi.spellings compares the `facts`.
CREATE TABLE callapi.hosts (
  host         text PRIMARY KEY,
  target       text NOT NULL,                -- what is connected to, as callapi.host_keys has it
  addresses    text[] NOT NULL DEFAULT '{}', -- that the text resolved to last, in one canonical form
  resolved_at  timestamptz,
  due_at       timestamptz,                  -- when to look the text up again; NULL: it never was
  peer         text,                         -- the address that answered last
  met_at       timestamptz,                  -- when that was; NULL: it was never connected to
  asterisk     text,                         -- who its Asterisk says it is; NULL: not known
  facts        text[] GENERATED ALWAYS AS (
    array_remove(addresses || ARRAY[peer, asterisk], NULL)) STORED
);
CREATE INDEX hosts_by_fact ON callapi.hosts USING gin (facts);
CREATE INDEX hosts_by_target ON callapi.hosts (target);

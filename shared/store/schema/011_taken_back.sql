-- What an attempt takes the place of, so that one which was certainly not sent is taken back to it: the
-- transfers before the newest, [{"to", "at", "state", "until"}], newest first, NULL: none; and the moments
-- of the hang-ups that were, or may yet be, sent. The release before writes neither.
ALTER TABLE callapi.calls
  ADD COLUMN transfer_before jsonb,
  ADD COLUMN hang_ups timestamptz[];

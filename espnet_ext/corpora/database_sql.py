"""The tables and queries of `database`."""

SCHEMA = """
CREATE TABLE label(utt TEXT, key TEXT, speaker TEXT, part TEXT, lang TEXT, file TEXT,
                   meaning TEXT, record TEXT, secondary INTEGER, counts TEXT);
CREATE TABLE audio(id INTEGER PRIMARY KEY, key TEXT, source TEXT, seconds REAL, fault TEXT);
CREATE TABLE unsupported_audio(key TEXT, name TEXT, suffix TEXT);
CREATE TABLE left_out(name TEXT, key TEXT, reason TEXT);
CREATE TABLE other_part(key TEXT PRIMARY KEY) WITHOUT ROWID;
"""
# A secondary label is used only for audio without another label. If its transcripts, speaker or
# first language differ from those of the other label, the difference is reported. A speaker that
# was taken from the file name, or a first language that is not known, does not differ.
SECONDARY = """
CREATE INDEX label_of_kind ON label(secondary, key);
CREATE TABLE superseded AS
    SELECT second.rowid AS label, second.utt AS utt, second.key AS key,
           json_extract(second.record, '$[2]') = json_extract(first.record, '$[2]') AS same_texts,
           (second.speaker = first.speaker OR second.counts LIKE '%without a speaker%')
           AND (json_extract(second.record, '$[0]') IN ('', json_extract(first.record, '$[0]')))
           AS same_speaker
    FROM label AS second JOIN label AS first ON first.secondary = 0 AND first.key = second.key
    WHERE second.secondary = 1 GROUP BY second.rowid;
DELETE FROM label WHERE rowid IN (SELECT label FROM superseded);
"""
JOIN = """
CREATE INDEX label_utt ON label(utt, file);
CREATE INDEX label_key ON label(key);
CREATE INDEX audio_key ON audio(key, source);
CREATE INDEX unsupported_key ON unsupported_audio(key, suffix);
CREATE TABLE utterance(utt TEXT PRIMARY KEY, label INTEGER, audio INTEGER) WITHOUT ROWID;
INSERT OR IGNORE INTO utterance
    SELECT utt, rowid, (SELECT id FROM audio WHERE audio.key = label.key ORDER BY source LIMIT 1)
    FROM label ORDER BY utt, file;
INSERT INTO left_out SELECT label.utt, key, COALESCE(
        (SELECT 'its audio is in an unsupported format, ' || suffix || ': convert it'
         FROM unsupported_audio WHERE unsupported_audio.key = label.key LIMIT 1), 'no audio')
    FROM utterance JOIN label ON label.rowid = label WHERE audio IS NULL;
DELETE FROM utterance WHERE audio IS NULL;
CREATE INDEX utterance_audio ON utterance(audio);
CREATE INDEX left_out_key ON left_out(key);
"""
UTTERANCES = """
    FROM utterance CROSS JOIN label ON label.rowid = utterance.label
    CROSS JOIN audio ON audio.id = utterance.audio
"""
UNKNOWN = (
    "WHERE key NOT IN (SELECT key FROM label) AND key NOT IN (SELECT key FROM left_out) "
    "AND key NOT IN (SELECT key FROM other_part)"
)
LABELLED = "json_extract(record, '$[2]') != '{}'"

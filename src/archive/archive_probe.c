/*
 * archive_probe.c
 *		What a file is, as far as its first bytes tell.
 */
#include <string.h>

#include "archive/archive_internal.h"

/*
 * Recognises a file compressed as a whole.
 */
DgArchiveCompression
dg_archive_probe_compression(const unsigned char *head, size_t len)
{
	if (len >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == 8)
		return DG_ARCHIVE_GZIP;
	if (len >= 4 && memcmp(head, "\x04\x22\x4d\x18", 4) == 0)
		return DG_ARCHIVE_LZ4;
	if (len >= 4 && memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0)
		return DG_ARCHIVE_ZSTD;
	return DG_ARCHIVE_NONE;
}

/*
 * In ASCII, and in either case.
 */
static bool
begins_with_word(const char *p, const char *end, const char *word)
{
	for (; *word != '\0'; word++, p++)
	{
		if (p >= end || (*p != *word && (*p < 'a' || *p > 'z' || *p - 'a' + 'A' != *word)))
			return false;
	}
	return true;
}

/*
 * Is this how a dump in plain text begins?  Some line has to begin with
 * something that pg_dump writes.
 */
bool
dg_archive_plain_probe(const unsigned char *head, size_t len)
{
	static const char *const starts[] = {
		"-- PostgreSQL database", "SET ", "COPY ", "INSERT INTO ", "CREATE ",
		"\\restrict ", NULL
	};
	const char *p = (const char *) head;
	const char *end = p + len;
	int			i;

	if (memchr(head, '\0', len) != NULL)
		return false;
	if (len >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0)
		p += 3;
	while (p < end)
	{
		const char *nl = memchr(p, '\n', (size_t) (end - p));

		for (i = 0; starts[i] != NULL; i++)
		{
			if (begins_with_word(p, end, starts[i]))
				return true;
		}
		if (nl == NULL)
			break;
		p = nl + 1;
	}
	return false;
}

/*
 * Text in UTF-16, with a byte order mark or without: every second byte of what
 * a dump begins with is zero.
 */
static bool
is_utf16(const unsigned char *head, size_t len)
{
	if (len < 4)
		return false;
	return memcmp(head, "\xff\xfe", 2) == 0 || memcmp(head, "\xfe\xff", 2) == 0 ||
		(head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0) ||
		(head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0);
}

/*
 * False, with an error, if the file is something else that can be told.
 */
bool
dg_archive_probe_stranger(DgArchive *archive, const unsigned char *head, size_t len, DgArchiveError *err)
{
	static const struct
	{
		const char *magic;
		size_t		len;
		const char *what;
		const char *hint;
	}			strangers[] = {
		{"\xfd" "7zXZ", 5, "file is compressed with xz", "Decompress it: xz -d < FILE > NEW"},
		{"BZh", 3, "file is compressed with bzip2", "Decompress it: bzip2 -d < FILE > NEW"},
		{"LZIP", 4, "file is compressed with lzip", "Decompress it: lzip -d < FILE > NEW"},
		{"\x1f\x9d", 2, "file is compressed with compress", "Decompress it: gzip -d < FILE > NEW"},
		{"7z\xbc\xaf", 4, "file is a 7z file", "Unpack it: 7z x FILE"},
		{"PK\003\004", 4, "file is a zip file", "Unpack it: unzip FILE"},
		{"Salted__", 8, "file is encrypted, by openssl", "Decrypt it: openssl enc -d with the cipher and password that it was encrypted with"},
		{"age-encryption.org/", 19, "file is encrypted, by age", "Decrypt it: age -d -i KEY FILE > NEW"},
		{"-----BEGIN PGP MESSAGE", 22, "file is encrypted, by PGP", "Decrypt it: gpg -d FILE > NEW"},
		{"-- MySQL dump", 13, "file is a dump of MySQL", NULL},
		{"-- MariaDB dump", 15, "file is a dump of MariaDB", NULL},
		{"SQLite format 3", 15, "file is a database of SQLite", NULL},
		{"<!DOCTYPE", 9, "file is a web page, as a download leaves that has failed", NULL},
		{"<html", 5, "file is a web page, as a download leaves that has failed", NULL},
		{"<?xml", 5, "file is XML, as a download leaves that has failed", NULL},
	};
	size_t		i;

	if (is_utf16(head, len))
	{
		dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->path, 0, "text is in UTF-16, as \">\" of PowerShell writes it");
		return dg_archive_hint(err, "Dump with pg_dump -f FILE instead of > FILE. What there is can be converted, iconv -f UTF-16 -t UTF-8 FILE > NEW, if all of its characters came through.");
	}
	if (len > 10 && memcmp(head, "--\r", 3) == 0 && memchr(head, '\n', len) == NULL)
	{
		dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->path, 0, "lines end with carriage returns alone");
		return dg_archive_hint(err, "Give them the ends that pg_dump wrote: tr '\\r' '\\n' < FILE > NEW");
	}
	for (i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
	{
		if (len < strangers[i].len || memcmp(head, strangers[i].magic, strangers[i].len) != 0)
			continue;
		dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->path, 0, "%s", strangers[i].what);
		return strangers[i].hint == NULL ? false : dg_archive_hint(err, "%s", strangers[i].hint);
	}
	return true;
}

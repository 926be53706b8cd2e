/*-------------------------------------------------------------------------
 *
 * corpus.h
 *	  Runs a fuzz target once for every file of its corpus, one test each.
 *
 * Included after unit.h and the fuzz target.  What the target finds wrong ends
 * the program; the name of the file is the last line printed.
 *
 * test/unit/corpus.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DG_CORPUS_H
#define DG_CORPUS_H

#include <dirent.h>

static char corpus_file[1024];	/* the file to run */

static int
corpus_wanted(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/*
 * Run the target with exactly the bytes of the file, so that the sanitizer
 * sees the first one read behind them.
 */
static void
run_corpus_file(void)
{
	FILE	   *file = fopen(corpus_file, "rb");
	unsigned char *data;
	long		size;

	CHECK(file != NULL);
	if (file == NULL)
		return;
	CHECK(fseek(file, 0, SEEK_END) == 0);
	size = ftell(file);
	rewind(file);
	CHECK(size > 0);
	data = malloc(size > 0 ? (size_t) size : 1);
	CHECK_INT_EQ(fread(data, 1, (size_t) size, file), size);
	fclose(file);
	CHECK_INT_EQ(LLVMFuzzerTestOneInput(data, (size_t) size), 0);
	free(data);
}

/*
 * Run every file of test/fuzz/NAME, seen from the top of the clone.
 */
static void
run_corpus(const char *name)
{
	struct dirent **entries;
	char		directory[256];
	int			n;
	int			i;

	snprintf(directory, sizeof(directory), "test/fuzz/%s", name);
	n = scandir(directory, &entries, corpus_wanted, alphasort);
	for (i = 0; i < n; i++)
	{
		snprintf(corpus_file, sizeof(corpus_file), "%s/%s", directory, entries[i]->d_name);
		printf("# %s\n", corpus_file);
		fflush(stdout);
		unit_run_test(entries[i]->d_name, run_corpus_file);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

#endif							/* DG_CORPUS_H */

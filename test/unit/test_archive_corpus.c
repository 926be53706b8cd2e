/*
 * test_archive_corpus.c
 *		What the fuzzer has found worth keeping, run once more: whatever
 *		test/fuzz/fuzz_archive.c demands holds for each file of its corpus.
 */
#include "unit.h"

#include "../fuzz/fuzz_archive.c"
#include "corpus.h"

int
main(void)
{
	run_corpus("corpus_archive");
	return unit_done();
}

/*
 * extract_progress.c
 *		How far a call has come, for others to see while it runs.
 *
 * A call reports itself as a COPY, so that it appears in
 * pg_stat_progress_copy with the table being read. The server keeps more
 * numbers with that than this view shows; the others are used for what
 * concerns the call as a whole, and the view rehydration_progress shows them.
 *
 * The counters are those of the archive reader, which asks about once in a
 * megabyte whether to go on: dg_extract_progress_update() may not throw.
 */
#include "postgres.h"

#include "commands/progress.h"
#include "utils/backend_progress.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "archive/archive.h"
#include "extract/extract_internal.h"

/*
 * Numbers that COPY does not use; the view knows them, counting from 1. The
 * first tells our rows from those of a real COPY.
 */
#define PARAM_MARK			11
#define PARAM_PHASE			12
#define PARAM_STARTED		13
#define PARAM_ALL_DONE		14
#define PARAM_ALL_TOTAL		15
#define PARAM_ROWS_READ		16
#define PARAM_ROWS_KEPT		17

#define MARK				INT64CONST(0x6467726568796400)

struct DgExtractProgress
{
	TimestampTz started;
	int64		phase;
	int64		all_total;		/* bytes of all passes, 0: not known */
	int64		done_before;	/* of them, in passes that are over */
	int64		read_before;	/* rows, likewise */
	int64		kept_before;
	int64		kept;			/* in this pass */
	int64		total;			/* bytes of this pass, 0: not known */
};

/*
 * The table's stored bytes, 0 where not known: of a running copy nobody knows how
 * many of them will come.
 */
static int64
bytes_of(const DgExtractArchive *archive, const DgPass *pass)
{
	int64		bytes = pass->source == NULL || archive->server != NULL ? 0 :
	dg_archive_table(archive->archive, pass->source->index)->data_bytes;

	return Max(bytes, 0);
}

/*
 * Begins to report on a plan.
 */
void
dg_extract_progress_begin(DgExtractArchive *archive, const DgExtractPlan *plan)
{
	DgExtractProgress *progress = palloc0(sizeof(DgExtractProgress));
	ListCell   *lc;

	progress->started = GetCurrentTimestamp();
	foreach(lc, plan->passes)
	{
		DgPass	   *pass = lfirst(lc);
		int64		bytes = bytes_of(archive, pass);

		if (bytes == 0 && pass->source != NULL)
		{
			progress->all_total = 0;
			break;
		}
		progress->all_total += bytes;
	}
	archive->progress = progress;
}

static void
report_progress(const DgExtractProgress *progress, const DgArchiveProgress *reader)
{
	const int	params[] = {
		PROGRESS_COPY_BYTES_PROCESSED, PROGRESS_COPY_BYTES_TOTAL,
		PROGRESS_COPY_TUPLES_PROCESSED, PROGRESS_COPY_TUPLES_EXCLUDED,
		PROGRESS_COPY_COMMAND, PROGRESS_COPY_TYPE,
		PARAM_MARK, PARAM_PHASE, PARAM_STARTED, PARAM_ALL_DONE, PARAM_ALL_TOTAL,
		PARAM_ROWS_READ, PARAM_ROWS_KEPT
	};
	const int64 values[] = {
		reader->bytes_done, progress->total,
		progress->kept, reader->rows_read - progress->kept,
		PROGRESS_COPY_COMMAND_FROM, PROGRESS_COPY_TYPE_CALLBACK,
		MARK, progress->phase, progress->started,
		progress->done_before + reader->bytes_done, progress->all_total,
		progress->read_before + reader->rows_read, progress->kept_before + progress->kept
	};

	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

static void
read_reader_counters(const DgExtractArchive *archive, DgArchiveProgress *reader)
{
	memset(reader, 0, sizeof(*reader));
	if (archive->rows != NULL)
		dg_archive_rows_progress(archive->rows, reader);
}

/*
 * Reports that a pass begins; archive->rows is what it reads, or NULL.
 */
void
dg_extract_progress_pass(DgExtractArchive *archive, const DgPass *pass)
{
	DgExtractProgress *progress = archive->progress;
	DgArchiveProgress reader;

	if (progress == NULL)
		return;
	progress->phase = pass->emit ? DG_PHASE_RESTORING : DG_PHASE_FINDING;
	progress->kept = 0;
	progress->total = bytes_of(archive, pass);
	/* a table may have to be read more than once */
	if (progress->all_total > 0)
		progress->all_total = Max(progress->all_total, progress->done_before + progress->total);
	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, pass->finder->relid);
	read_reader_counters(archive, &reader);
	report_progress(progress, &reader);
}

/*
 * Counts a wanted row that was read.
 */
void
dg_extract_progress_kept(DgExtractArchive *archive)
{
	if (archive->progress != NULL)
		archive->progress->kept++;
}

/*
 * Reports how far a pass has come; called now and then. May not throw.
 */
void
dg_extract_progress_update(DgExtractArchive *archive)
{
	DgArchiveProgress reader;

	if (archive->progress == NULL || archive->rows == NULL)
		return;
	read_reader_counters(archive, &reader);
	report_progress(archive->progress, &reader);
}

/*
 * Reports that the pass is over; archive->rows is still open.
 */
void
dg_extract_progress_pass_end(DgExtractArchive *archive, const DgPass *pass)
{
	DgExtractProgress *progress = archive->progress;
	DgArchiveProgress reader;

	if (progress == NULL)
		return;
	read_reader_counters(archive, &reader);
	report_progress(progress, &reader);
	ereport(DEBUG1,
			(errmsg_internal("read table \"%s\" of the archive: %llu rows, of which %lld are wanted",
							 get_rel_name(pass->finder->relid), (unsigned long long) reader.rows_read,
							 (long long) progress->kept)));
	progress->done_before += progress->total;
	progress->read_before += reader.rows_read;
	progress->kept_before += progress->kept;
	progress->kept = 0;
}

/*
 * Reports that all is read, and what remains is checked.
 */
void
dg_extract_progress_checking(DgExtractArchive *archive)
{
	DgArchiveProgress nothing = {0};

	archive->rows = NULL;
	if (archive->progress == NULL)
		return;
	archive->progress->phase = DG_PHASE_CHECKING;
	archive->progress->total = 0;
	report_progress(archive->progress, &nothing);
}

/*
 * Reports that the call is over. After an error the server does this by itself.
 */
void
dg_extract_progress_end(DgExtractArchive *archive)
{
	if (archive->progress != NULL)
		pgstat_progress_end_command();
	archive->progress = NULL;
}

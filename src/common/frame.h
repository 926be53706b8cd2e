/*
 * frame.h
 *		What is known of the statement that runs, and of those in whose course it runs.
 *
 * A query or a command may run others: functions, triggers and foreign keys do. Each
 * has a frame, on the C stack of the hook in which it runs (protect_hooks.c), pushed
 * before it runs and popped when it is over, by an error too. What holds for a
 * statement alone begins anew in its frame; what holds for all that runs in its course
 * is handed down. The rooms write what is theirs into the frame at hand, and have
 * nothing to put back.
 *
 * Not in a frame is what does not end with what runs. A deletion and the counts of its
 * ceilings are of a statement of the client's, or of many in replication, and end with
 * a (sub)transaction (capture_deletion.c, capture_limit.c); preview() alone puts them
 * aside. That a query is watched for rows that it moves, and not those that others
 * move meanwhile, is known of that query (capture_move.c).
 *
 * The frame at the bottom is not of a statement: no statement runs, or the library
 * was loaded in the middle of one.
 */
#ifndef DG_FRAME_H
#define DG_FRAME_H

#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/reltrigger.h"

/* Which statement is the extension's own. */
typedef enum DgActing
{
	DG_ACTING_NOT,
	DG_ACTING_NEXT,				/* the one that begins next in its course */
	DG_ACTING_NOW				/* this one, not what runs in its course */
} DgActing;

/* What kind of utility command runs, as far as that matters. */
typedef enum DgCommand
{
	DG_COMMAND_OTHER,			/* or none */
	DG_COMMAND_MAINTENANCE,		/* concerns storage only */
	DG_COMMAND_RESTORE,			/* what pg_restore does to a table that it has
								 * made */
	DG_COMMAND_CREATE,			/* makes a table */
	DG_COMMAND_COPY
} DgCommand;

typedef struct DgFrame
{
	struct DgFrame *outer;		/* NULL: this is the bottom */
	int			depth;			/* 0: of the bottom */

	/* handed down */
	Oid			role;			/* whose the deletions are; InvalidOid: the
								 * current user's */
	DgCommand	command;		/* the innermost */

	/* of this statement alone */
	DgActing	acting;
	bool		drops_tables;	/* it is a command by which triggers go only
								 * because their tables go */
	bool		drops_trigger;	/* it is DROP TRIGGER */
	EState	   *firing;			/* of the query, if this is its end, where its
								 * triggers fire */
	const TriggerDesc *fires;	/* triggers of a table of that query, found
								 * last */
	List	   *by_row;			/* enrolled tables of that query whose row
								 * triggers capture its rows */
} DgFrame;

extern DgFrame *dg_frame;

/*
 * What begins from here to dg_frame_pop() runs in the course of this. Nothing may be
 * thrown between this and PG_TRY(), in whose PG_FINALLY() it is popped first.
 */
static inline void
dg_frame_push(DgFrame *frame)
{
	*frame = (DgFrame)
	{
		.outer = dg_frame,.depth = dg_frame->depth + 1,
			.role = dg_frame->role,.command = dg_frame->command,
			.acting = dg_frame->acting == DG_ACTING_NEXT ? DG_ACTING_NOW : DG_ACTING_NOT
	};
	dg_frame = frame;
}

static inline void
dg_frame_pop(const DgFrame *frame)
{
	dg_frame = frame->outer;
}

extern bool dg_acting(void);
extern bool dg_acting_next(void);
extern DgActing dg_acting_set(DgActing acting);
extern void dg_acting_resume(DgActing before);

#endif							/* DG_FRAME_H */

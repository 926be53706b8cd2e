/*
 * main_internal.h
 *		What the files of main/ share among themselves.
 */
#ifndef DG_MAIN_INTERNAL_H
#define DG_MAIN_INTERNAL_H

/* settings.c */
extern void dg_main_define_settings(void);

#endif							/* DG_MAIN_INTERNAL_H */

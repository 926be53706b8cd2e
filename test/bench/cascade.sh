# A fifth of the tenants deleted through foreign key cascades, over five tables.
template saas fill "$TOP/doc/saas.sql"

run_native()
{
	fresh saas
	seconds_of 'DELETE FROM site WHERE id % 5 = 3'
}

run_guarded()
{
	fresh saas
	guard_saas
	seconds_of 'DELETE FROM site WHERE id % 5 = 3'
}

rounds native guarded
report "DELETE of $((TENANTS / 5)) tenants, cascades" "native DELETE" "$(median native)" "$(median guarded)" "<= 1.25"

"""What Django does to a guarded database, and what it is told of it: one result per line, for 103_frameworks.pl.

As the application, on models whose ON DELETE is Django's own: it selects what refers to a row, and deletes that by ids.
"""
import json
import os
import sys

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "USER": "app",
                           "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
                           "OPTIONS": {"options": os.environ.get("APP_OPTIONS", "")}}},
    INSTALLED_APPS=["shop"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True)
django.setup()

from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from shop.models import Doc, Label, Org, Page


def tell(name, value):
    print(f"{name}\t{json.dumps(value, sort_keys=True)}")


def counts(deleted):
    total, by_model = deleted
    return [total, {model: n for model, n in by_model.items() if n}]


def state_of(action):
    """The SQLSTATE with which it fails, as the page on applications says where it is."""
    try:
        with transaction.atomic():
            action()
    except DatabaseError as error:
        cause = error.__cause__
        return getattr(cause, "sqlstate", None) or cause.pgcode
    return None


def fill():
    labels = Label.objects.bulk_create(Label(name=f"label {i}") for i in range(3))
    for name in ("one", "two", "three"):
        org = Org.objects.create(name=name)
        docs = Doc.objects.bulk_create(Doc(org=org, title=f"{name} {i}", body=bytes(range(i, i + 9)), extra={"i": i, "é": [None, 1.5]})
                                       for i in range(10))
        Page.objects.bulk_create(Page(doc=doc, number=i, text="x" * 3000 * i) for doc in docs for i in range(3))
        for doc in docs:
            doc.labels.set(labels)


def snippet():
    names = {}
    with open(os.environ["SNIPPET"]) as page:
        exec(page.read(), names)
    return names["deleting"]


class Request:
    """What the snippet needs of one."""
    path = "/orgs/2"

    class user:
        get_username = staticmethod(lambda: "alice@example.com")


def remove():
    deleting = snippet()
    org = Org.objects.get(name="two")
    with deleting(Request, org.pk):
        tell("Model.delete()", counts(org.delete()))
    tell("QuerySet.delete()", counts(Page.objects.filter(doc__org__name="one", number__gte=1).delete()))
    tell("QuerySet.delete() of a slice of ids", counts(Doc.objects.filter(pk__in=list(Doc.objects.order_by("pk").values_list("pk", flat=True)[:4])).delete()))
    tell("of nothing", counts(Page.objects.filter(number=99).delete()))
    doc = Doc.objects.order_by("pk").last()
    doc.labels.clear()
    tell("a relation that is cleared", doc.labels.count())
    tell("_raw_delete()", Page.objects.filter(doc=doc)._raw_delete("default"))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM shop_page WHERE number = %s", [2])
        tell("a cursor's rowcount", cursor.rowcount)
        cursor.execute("DELETE FROM shop_page WHERE number = 1 RETURNING number")
        tell("RETURNING", len(cursor.fetchall()))
        cursor.executemany("DELETE FROM shop_page WHERE doc_id = %s", [[pk] for pk in Doc.objects.values_list("pk", flat=True)])
    try:
        with transaction.atomic():
            with transaction.atomic():
                Doc.objects.all().delete()
                raise KeyError
    except KeyError:
        pass
    tell("what a savepoint undoes", Doc.objects.count())


def refused():
    deleting = snippet()
    docs = Doc.objects.filter(org__name="three")

    def wrong():
        with deleting(Request, 1):
            docs.delete()
    tell("another tenant's rows", state_of(wrong))
    tell("are still there", docs.count())


def migrate():
    tell("migrate", state_of(lambda: call_command("migrate", "shop", os.environ["TARGET"], verbosity=0)))


globals()[sys.argv[1]]()

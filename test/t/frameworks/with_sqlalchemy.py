"""What SQLAlchemy does to a guarded database, and what it is told of it: one result per line, for 103_frameworks.pl."""
import json
import os
import sys

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, create_engine, delete, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, declarative_base, relationship
from sqlalchemy.orm.exc import StaleDataError

Base = declarative_base()


class Org(Base):
    __tablename__ = "org"
    id = Column(Integer, primary_key=True)
    name = Column(String)
    docs = relationship("Doc", cascade="all, delete-orphan", back_populates="org")


class Doc(Base):
    """Its pages are deleted by the ORM; its notes by the database."""
    __tablename__ = "doc"
    id = Column(Integer, primary_key=True)
    org_id = Column(ForeignKey("org.id"), nullable=False)
    body = Column(LargeBinary)
    version = Column(Integer, nullable=False)
    org = relationship("Org", back_populates="docs")
    pages = relationship("Page", cascade="all, delete")
    notes = relationship("Note", cascade="all, delete", passive_deletes=True)
    __mapper_args__ = {"version_id_col": version}


class Page(Base):
    __tablename__ = "page"
    doc_id = Column(ForeignKey("doc.id"), primary_key=True)
    number = Column(Integer, primary_key=True)
    text = Column(String)


class Note(Base):
    __tablename__ = "note"
    id = Column(Integer, primary_key=True)
    doc_id = Column(ForeignKey("doc.id", ondelete="CASCADE"))


def tell(name, value):
    print(f"{name}\t{json.dumps(value, sort_keys=True)}")


engine = create_engine(f"postgresql+psycopg2://app@/{os.environ['PGDATABASE']}?host={os.environ['PGHOST']}&port={os.environ['PGPORT']}")



def fill():
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for name in ("one", "two", "three"):
            session.add(Org(name=name, docs=[
                Doc(body=bytes(range(i, i + 9)), pages=[Page(number=n, text="x" * 3000 * n) for n in range(3)], notes=[Note(), Note()])
                for i in range(10)]))
        session.commit()


def remove():
    # the page's snippet: from here on every transaction of a session says who
    with open(os.environ["SNIPPET"]) as snippet:
        exec(snippet.read(), {})
    alice = {"actor": "alice@example.com", "reason": "ticket 7"}
    with Session(engine, info=alice) as session:
        session.delete(session.get(Org, 2))
        session.commit()
        tell("session.delete()", session.query(Doc).count())
    with Session(engine, info=alice) as session:
        org = session.get(Org, 1)
        del org.docs[:4]
        session.commit()
        tell("orphans", session.query(Doc).count())
        tell("delete() by a condition", session.execute(delete(Page).where(Page.number == 2)).rowcount)
        tell("Query.delete()", session.query(Note).filter(Note.doc_id > 25).delete())
        tell("RETURNING", len(session.execute(delete(Page).where(Page.number == 1).returning(Page.doc_id)).all()))
        session.commit()
    with Session(engine) as session:
        savepoint = session.begin_nested()
        session.query(Note).delete()
        savepoint.rollback()
        tell("what a savepoint undoes", session.query(Note).count())
        doc = session.query(Doc).first()
        session.execute(text("UPDATE doc SET version = version + 1"))
        session.delete(doc)
        try:
            session.commit()
            tell("a stale row", "deleted")
        except StaleDataError:
            tell("a stale row", "refused")


def refused():
    with Session(engine) as session:
        session.execute(text("SET LOCAL deletion_guard.expect_tenants = '1'"))
        try:
            session.query(Page).filter(Page.doc_id > 20).delete()
        except DBAPIError as error:
            tell("another tenant's rows", getattr(error.orig, "sqlstate", None) or error.orig.pgcode)
        session.rollback()
        tell("are still there", session.query(Page).filter(Page.doc_id > 20).count())


globals()[sys.argv[1]]()

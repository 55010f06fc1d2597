"""The SQL of `rebuild`: a live table and the fresh one that its events give."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table whose rows are made of events. `l` is the live row, `f` the fresh one, in the SQL that the fields below hold.

    stream: the column that says whose stream it is (a limit's: its pseudonym). key: the primary key. columns: what the fold
    gives, the key included.
    compared: for a column that isn't compared as it stands, what is; `{row}` stands for either. None: not at all.
    without_events: which live rows need no event to explain them.
    stored: for a column, what is put into a row that is put right, instead of the fresh value; other columns are leases,
    and those that are not named here keep their value, or get their default.
    """

    name: str
    stream: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    compared: Mapping[str, str | None] = field(default_factory=dict)
    without_events: str = "false"
    stored: Mapping[str, str] = field(default_factory=dict)

    @property
    def fresh(self) -> str:
        return f"fresh_{self.name}"

    def create_fresh(self) -> str:
        # A temporary one: it goes with the transaction, whatever becomes of this process.
        columns = ", ".join(self.columns)
        return f"CREATE TEMPORARY TABLE {self.fresh} ON COMMIT DROP AS SELECT {columns} FROM {self.name} WITH NO DATA"  # noqa: S608

    def compare(self) -> str:
        """$1: how many streams to name."""
        return f"""
            WITH pair AS (
                SELECT coalesce(l.{self.stream}, f.{self.stream}) AS stream, l.{self.key[0]} IS NOT NULL AS is_live,
                       {self._differs()} AS differs
                FROM {self.name} l FULL JOIN {self.fresh} f ON {self._same_key()}
            ), named AS (SELECT DISTINCT stream::text FROM pair WHERE differs ORDER BY stream LIMIT $1)
            SELECT count(*) FILTER (WHERE is_live) AS rows, count(*) FILTER (WHERE differs) AS differing,
                   count(*) FILTER (WHERE differs AND is_live) AS not_equal,
                   ARRAY(SELECT stream FROM named ORDER BY stream) AS streams
            FROM pair
        """  # noqa: S608

    def remove_unexplained(self) -> str:
        return f"""
            DELETE FROM {self.name} l
            WHERE NOT EXISTS (SELECT FROM {self.fresh} f WHERE {self._same_key()}) AND NOT ({self.without_events})
        """  # noqa: S608

    def put_right(self) -> str:
        names = [*self.columns, *(name for name in self.stored if name not in self.columns)]
        values = [self.stored.get(name, f"f.{name}") for name in names]
        changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in self.key)
        return f"""
            INSERT INTO {self.name} ({", ".join(names)})
            SELECT {", ".join(values)} FROM {self.fresh} f LEFT JOIN {self.name} l ON {self._same_key()}
            WHERE {self._differs()}
            ON CONFLICT ({", ".join(self.key)}) DO UPDATE SET {changes}
        """  # noqa: S608

    def _same_key(self) -> str:
        return " AND ".join(f"l.{name} = f.{name}" for name in self.key)

    def _differs(self) -> str:
        # *<> compares the stored bytes: two values that are merely "equal" don't pass for one another. It is for records only.
        first = self.key[0]
        return (
            f"CASE WHEN l.{first} IS NULL THEN true WHEN f.{first} IS NULL THEN NOT ({self.without_events})"
            f" ELSE ROW({self._seen_in('l')})::record *<> ROW({self._seen_in('f')})::record END"
        )

    def _seen_in(self, row: str) -> str:
        seen = (self.compared.get(name, f"{{row}}.{name}") for name in self.columns if name not in self.key)
        return ", ".join(one.format(row=row) for one in seen if one is not None)

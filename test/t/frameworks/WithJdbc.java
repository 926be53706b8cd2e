import java.sql.*;
import java.util.Arrays;

/**
 * What the JDBC driver does to a guarded database, and what it is told of it: one result per line, for 103_frameworks.pl.
 */
public class WithJdbc
{
	static Connection connection;

	static void tell(String name, Object value)
	{
		System.out.println(name + "\t" + value);
	}

	static void run(String sql) throws SQLException
	{
		try (Statement statement = connection.createStatement())
		{
			statement.execute(sql);
		}
	}

	static int count(String sql) throws SQLException
	{
		try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql))
		{
			rows.next();
			return rows.getInt(1);
		}
	}

	static int rowsLeft() throws SQLException
	{
		return count("SELECT count(*) FROM doc");
	}

	static void batches() throws SQLException
	{
		try (PreparedStatement delete = connection.prepareStatement("DELETE FROM doc WHERE id = ?"))
		{
			for (int id = 1; id <= 12; id++)
			{
				delete.setInt(1, id);
				delete.addBatch();
			}
			tell("a batch", Arrays.toString(delete.executeBatch()));
		}
		try (Statement statement = connection.createStatement())
		{
			statement.addBatch("DELETE FROM page WHERE doc_id IN (13, 14)");
			statement.addBatch("DELETE FROM doc WHERE id BETWEEN 13 AND 14");
			tell("a batch of statements", Arrays.toString(statement.executeBatch()));
		}
		connection.commit();
	}

	/* the driver prepares it on the server from the first time on, and sends parameters in binary form */
	static void prepared() throws SQLException
	{
		StringBuilder counts = new StringBuilder();

		try (PreparedStatement delete = connection.prepareStatement("DELETE FROM doc WHERE org_id = ? AND id < ?"))
		{
			for (int i = 0; i < 8; i++)
			{
				delete.setInt(1, 1 + i % 3);
				delete.setInt(2, 20 + i);
				counts.append(delete.executeLargeUpdate()).append(' ');
			}
		}
		connection.commit();
		tell("a statement prepared on the server", counts.toString().trim());
	}

	static void returning() throws SQLException
	{
		int n = 0;

		try (PreparedStatement delete = connection.prepareStatement("DELETE FROM doc WHERE id BETWEEN 31 AND 36", Statement.RETURN_GENERATED_KEYS))
		{
			delete.executeUpdate();
			for (ResultSet rows = delete.getGeneratedKeys(); rows.next();)
				n += rows.getInt("id");
		}
		tell("what was deleted, returned", n);
		n = 0;
		try (PreparedStatement delete = connection.prepareStatement("DELETE FROM doc WHERE id BETWEEN 41 AND 50 RETURNING id"))
		{
			delete.setFetchSize(3);
			for (ResultSet rows = delete.executeQuery(); rows.next();)
				n++;
		}
		tell("by three rows", n);
		try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
			ResultSet rows = statement.executeQuery("SELECT * FROM doc WHERE id = 51"))
		{
			rows.next();
			rows.deleteRow();
		}
		connection.commit();
		tell("a row of a result, deleted", count("SELECT count(*) FROM doc WHERE id = 51"));
	}

	/* autosave: a statement that fails is undone alone, by a savepoint of the driver's */
	static void autosave(String mistake) throws SQLException
	{
		run("SET LOCAL deletion_guard.expect_tenants = '3'");
		run("DELETE FROM doc WHERE id = 61");
		try
		{
			run(mistake);
		}
		catch (SQLException e)
		{
			System.err.println(e.getSQLState());
		}
		run("DELETE FROM doc WHERE id = 63");
		connection.commit();
		tell("what comes before and after a mistake", count("SELECT count(*) FROM doc WHERE id IN (60, 61, 63)"));
		connection.setAutoCommit(true);
		try (PreparedStatement delete = connection.prepareStatement("DELETE FROM doc WHERE id = ?"))
		{
			delete.setInt(1, 60);
			tell("without a transaction", delete.executeUpdate());
		}
	}

	static void sayWho(String actor, String reason, String tenant) throws SQLException
	{
		// the page's snippet
	}

	public static void main(String[] args) throws Exception
	{
		connection = DriverManager.getConnection(args[0]);
		connection.setAutoCommit(false);
		sayWho("alice@example.com", "ticket 7", "1");
		tell("a deletion with a reason", count("WITH gone AS (DELETE FROM doc WHERE id = 72 RETURNING id) SELECT count(*) FROM gone"));
		connection.commit();
		batches();
		prepared();
		returning();
		autosave(args[1]);
		tell("rows left", rowsLeft());
		connection.close();
	}
}

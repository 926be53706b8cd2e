from django.db import migrations, models


class Migration(migrations.Migration):
    """What loses nothing: a column, an index, a type, a name, a new table."""
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.AddField("Doc", "state", models.IntegerField(default=1)),
        migrations.AddIndex("Doc", models.Index(fields=["state"], name="doc_state")),
        migrations.AlterField("Doc", "state", models.BigIntegerField(default=1)),
        migrations.RenameField("Doc", "title", "heading"),
        migrations.CreateModel("Task", [
            ("id", models.BigAutoField(primary_key=True)), ("org", models.ForeignKey("shop.Org", on_delete=models.CASCADE))]),
        migrations.RunSQL("INSERT INTO shop_task (org_id) SELECT id FROM shop_org", "DELETE FROM shop_task"),
    ]

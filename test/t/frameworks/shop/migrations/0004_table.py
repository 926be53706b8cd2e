from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_column")]
    operations = [migrations.DeleteModel("Task"), migrations.RemoveField("Doc", "labels")]

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_unnoticed")]
    operations = [migrations.RemoveField("Doc", "extra")]

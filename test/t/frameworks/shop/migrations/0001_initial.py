from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Org", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))]),
        migrations.CreateModel("Label", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))]),
        migrations.CreateModel("Doc", [
            ("id", models.BigAutoField(primary_key=True)), ("org", models.ForeignKey("shop.Org", on_delete=models.CASCADE)),
            ("title", models.CharField(max_length=50)), ("body", models.BinaryField()), ("extra", models.JSONField(null=True)),
            ("labels", models.ManyToManyField("shop.Label"))]),
        migrations.CreateModel("Page", [
            ("id", models.BigAutoField(primary_key=True)), ("doc", models.ForeignKey("shop.Doc", on_delete=models.CASCADE)),
            ("number", models.IntegerField()), ("text", models.TextField())]),
    ]

from django.db import models


class Org(models.Model):
    name = models.CharField(max_length=50)


class Label(models.Model):
    name = models.CharField(max_length=50)


class Doc(models.Model):
    org = models.ForeignKey(Org, on_delete=models.CASCADE)
    title = models.CharField(max_length=50)
    body = models.BinaryField()
    extra = models.JSONField(null=True)
    labels = models.ManyToManyField(Label)


class Page(models.Model):
    doc = models.ForeignKey(Doc, on_delete=models.CASCADE)
    number = models.IntegerField()
    text = models.TextField()

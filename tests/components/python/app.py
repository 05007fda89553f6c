"""A warehouse, as somebody wrote it who never heard of Nexus."""

from dataclasses import replace

from componentize_py_types import Err

import wit_world
from wit_world import exports
from wit_world.exports.stock import Refusal_Nothing, Refusal_Short, Refusal_Unknown, Shortage


class Stock(exports.Stock):
    def take(self, articles, sku, quantity):
        if quantity <= 0:
            raise Err(Refusal_Nothing())
        article = next((article for article in articles if article.sku == sku), None)
        if article is None:
            raise Err(Refusal_Unknown(sku))
        if article.quantity < quantity:
            raise Err(Refusal_Short(Shortage(wanted=quantity, present=article.quantity)))
        less = replace(article, quantity=article.quantity - quantity)
        return [less if other is article else other for other in articles]

    def find(self, articles, tag):
        return next((article for article in articles if tag in article.tags), None)


class WitWorld(wit_world.WitWorld):
    def total(self, articles):
        return sum(quantity for _, quantity in articles)

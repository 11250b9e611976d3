"""The items of the spider ``many``, for whoever needs the same without a crawl."""

from typing import Any


def product(number: int) -> dict[str, Any]:
    """One item, about 300 bytes, shaped like a shop's product page."""
    return {
        "url": f"https://shop.example/catalogue/product-{number}/index.html",
        "name": f"Product {number}, a name of some length",
        "price": round(9.99 + number % 500, 2),
        "currency": "EUR",
        "in_stock": number % 7 != 0,
        "rating": number % 5 + 1,
        "tags": ["books", "used", f"shelf-{number % 40}"],
        "description": "Some words about the product that nobody reads to the end, really.",
    }

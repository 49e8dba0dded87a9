"""A small stock ledger: what is on the shelf, what it is worth, what must be ordered."""

from dataclasses import dataclass, field


@dataclass
class Item:
    name: str
    price_cents: int
    quantity: int = 0
    reorder_at: int = 5

    def is_low(self) -> bool:
        return self.quantity <= self.reorder_at


@dataclass
class Inventory:
    items: dict[str, Item] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        if item.name in self.items:
            raise ValueError(f"{item.name} is already listed")
        self.items[item.name] = item

    def receive(self, name: str, quantity: int) -> None:
        if quantity <= 0:
            raise ValueError("quantity must be positive")
        self.items[name].quantity += quantity

    def sell(self, name: str, quantity: int) -> int:
        item = self.items[name]
        if quantity > item.quantity:
            raise ValueError(f"only {item.quantity} of {name} left")
        item.quantity -= quantity
        return item.price_cents * quantity

    def total_value(self) -> int:
        return sum(item.price_cents * item.quantity for item in self.items.values())

    def to_order(self) -> list[str]:
        return [item.name for item in self.items.values() if item.is_low()]

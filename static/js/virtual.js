// A long list of rows of one height, of which only those in sight are elements.

const OVERSCAN = 6;
/** Browsers lay out no element that is higher; beyond it, rows come into reach as one scrolls. */
const HIGHEST = 15_000_000;

export class VirtualRows {
  /**
   * `scroller` scrolls, `canvas` holds the rows, `draw(index)` makes the element of a row, and
   * `reached(first, last)` is told which rows are in sight. `offset` is what stands above, in px.
   */
  constructor(scroller, canvas, { rowHeight, draw, reached = () => {} }) {
    this.scroller = scroller;
    this.canvas = canvas;
    this.rowHeight = rowHeight;
    this.draw = draw;
    this.reached = reached;
    this.count = 0;
    this.drawn = new Map();
    this.asked = 0;
    this.update = this.update.bind(this);
    scroller.addEventListener("scroll", () => this.later(), { passive: true });
    this.observer = new ResizeObserver(() => this.later());
    this.observer.observe(scroller);
  }

  later() {
    if (!this.asked) this.asked = requestAnimationFrame(this.update);
  }

  /** Set how many rows there are. */
  resize(count, rowHeight = this.rowHeight) {
    if (rowHeight !== this.rowHeight) this.clear();
    this.rowHeight = rowHeight;
    this.count = Math.min(count, Math.floor(HIGHEST / rowHeight));
    this.canvas.style.height = `${this.count * rowHeight}px`;
    this.update();
  }

  /** Draw every row anew. */
  clear() {
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
  }

  redraw() {
    this.clear();
    this.update();
  }

  /** Draw one row anew, if it is in sight. */
  redrawRow(index) {
    const old = this.drawn.get(index);
    if (!old) return;
    const made = this.placed(index);
    old.replaceWith(made);
    this.drawn.set(index, made);
  }

  range() {
    const top = this.scroller.scrollTop - this.canvas.offsetTop;
    const first = Math.floor(top / this.rowHeight) - OVERSCAN;
    const last = Math.ceil((top + this.scroller.clientHeight) / this.rowHeight) + OVERSCAN;
    return [Math.max(0, first), Math.min(this.count - 1, last)];
  }

  update() {
    this.asked = 0;
    const [first, last] = this.range();
    for (const [index, element] of this.drawn) {
      const away = index < first || index > last;
      // What has the focus stays, or the focus would be lost with it.
      if (index >= this.count || (away && !element.contains(document.activeElement))) {
        element.remove();
        this.drawn.delete(index);
      }
    }
    for (let index = first; index <= last; index += 1) {
      if (!this.drawn.has(index)) this.insert(index);
    }
    if (last >= first) this.reached(first, last);
  }

  insert(index) {
    const element = this.placed(index);
    const following = [...this.canvas.children].find((other) => Number(other.dataset.index) > index);
    this.canvas.insertBefore(element, following ?? null);
    this.drawn.set(index, element);
  }

  placed(index) {
    const element = this.draw(index);
    element.dataset.index = String(index);
    element.style.transform = `translateY(${index * this.rowHeight}px)`;
    element.style.height = `${this.rowHeight}px`;
    return element;
  }

  /** Bring a row into sight, `above` px being covered at the top. */
  reveal(index, above = 0) {
    const top = this.canvas.offsetTop + index * this.rowHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (top - above < scrollTop) this.scroller.scrollTop = top - above;
    else if (top + this.rowHeight > scrollTop + clientHeight) this.scroller.scrollTop = top + this.rowHeight - clientHeight;
    this.update();
  }
}

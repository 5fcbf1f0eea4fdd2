"""What holds of every figure."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def assert_all_is_seen(figure: Figure) -> None:
    """Nothing is cut off, and no text lies on another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    undrawn = {
        tick.label1
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    texts = [text for text in texts if text not in undrawn]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts]
    for place, (words, box) in enumerate(boxes):
        assert min(box.x0, box.y0) >= 0, words
        assert box.x1 <= width, words
        assert box.y1 <= height, words
        for other_words, other in boxes[:place]:
            assert not box.padded(-0.5).overlaps(other.padded(-0.5)), (words, other_words)

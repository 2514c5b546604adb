// New weights while requests are served: every answer comes from the one file or from the other, never
// from a mixture.
//
//     hot_swap WEIGHTS OTHER_WEIGHTS
#include "digits.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

using Answer = std::vector<float>;

static Answer ask(digits::Model &model, const std::vector<float> &x)
{
    digits::Predict::Feeds feeds;
    feeds.x = x;
    const auto results = model.predict(feeds);
    return {results.p.data(), results.p.data() + results.p.size()};
}

int main(int count, char **arguments)
{
    constexpr int swaps = 50;
    if (count != 3) {
        std::fprintf(stderr, "usage: hot_swap WEIGHTS OTHER_WEIGHTS\n");
        return 2;
    }
    try {
        digits::Options options;
        options.weights = arguments[1];
        options.threads = 1;
        digits::Model model(options);
        const std::vector<float> x(4 * 64, 0.5F);
        const Answer first = ask(model, x);
        model.load(arguments[2]);
        const Answer second = ask(model, x);

        std::atomic<bool> serving{true};
        std::atomic<int> answers{0}, mixed{0};
        const auto serve = [&] {
            while (serving) {
                const Answer answer = ask(model, x);
                mixed += answer != first && answer != second;
                answers++;
            }
        };
        std::thread one(serve), two(serve);
        int refused = 0;
        for (int i = 0; i < swaps; i++) {
            model.load(arguments[1 + i % 2]);
            // A file that cannot be used changes nothing.
            refused += model.try_load("no such file") != digits::Status::ok;
        }
        while (answers < 100) {
            std::this_thread::yield();
        }
        serving = false;
        one.join();
        two.join();
        std::printf("%d mixed answers, %d of %d files refused\n", mixed.load(), refused, swaps);
        return mixed != 0 || first == second;
    } catch (const digits::Error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
